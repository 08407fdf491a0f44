"""Train a classifier on the Iris data: a model, a metrics file and a plot in ARTIFACTS."""

import json
import os
import pathlib

import joblib
import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score
from sklearn.model_selection import train_test_split

SEED = 42


def main() -> None:
    artifacts = pathlib.Path(os.environ.get("ARTIFACTS", "artifacts"))
    artifacts.mkdir(parents=True, exist_ok=True)
    iris = load_iris()
    train_x, test_x, train_y, test_y = train_test_split(
        iris.data, iris.target, test_size=0.3, random_state=SEED, stratify=iris.target
    )
    model = RandomForestClassifier(n_estimators=100, random_state=SEED).fit(train_x, train_y)
    predicted = model.predict(test_x)

    joblib.dump(model, artifacts / "model.joblib")
    metrics = {
        "accuracy": round(float(accuracy_score(test_y, predicted)), 4),
        "test_samples": len(test_y),
        "seed": SEED,
    }
    (artifacts / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    ConfusionMatrixDisplay.from_predictions(test_y, predicted, display_labels=iris.target_names)
    plt.title(f"Iris, accuracy {metrics['accuracy']:.2f}")
    plt.savefig(artifacts / "confusion.png", dpi=120, bbox_inches="tight")
    print(
        f"accuracy {metrics['accuracy']:.4f} on {metrics['test_samples']} flowers; artifacts in {artifacts}"
    )


if __name__ == "__main__":
    main()
