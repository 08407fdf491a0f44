"""Container names: the rule for names that people give, and random ones for containers without.

A random name is `adjective_surname`, from word lists of our own: people who worked with
data, vessels and fermentation.  After some collisions a number is added.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from carboy.errors import Conflict, InvalidArgument

MAX_NAME = 253

_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_REST = _FIRST | frozenset("_.-")

ADJECTIVES = str.split(
    "airy amber ample apt awake balanced bold brave breezy bright brisk bubbly calm candid careful "
    "cheerful civil clear clever cool cosy crisp curious daring deft eager earnest easy exact fair "
    "fearless fertile fine fluent fond fresh friendly gentle gifted glad golden graceful grand grateful "
    "handy happy hardy honest humble keen kind lively loyal lucid lucky mellow merry mild modest neat "
    "nimble noble patient placid playful plucky polite prime proud pure quick quiet radiant ready "
    "robust rustic serene sharp shiny silent sincere smooth snug sober solid sparkling spry steady "
    "still sturdy sunny supple sure swift tender thorough tidy tranquil trusty upbeat valiant vivid "
    "warm wise witty zesty"
)

SURNAMES = str.split(
    "abel agnesi anning arrhenius babbage bayes bernoulli bessel bohr boole bose box brahe carver "
    "cauchy cavendish celsius chandrasekhar chen cochran codd cox curie darwin deming dirac easley "
    "efron einstein elion engelbart erdos euclid euler faraday fermat fermi feynman fisher fourier "
    "franklin gauss germain goodall gosset hansen herschel hilbert hodgkin hollerith hopper huygens "
    "hypatia johnson jemison kepler khayyam kolmogorov kovalevskaya lamarr laplace lavoisier leavitt "
    "leibniz linnaeus lister lovelace mandelbrot markov maxwell mcclintock meitner mendel mendeleev "
    "mirzakhani morse napier nash neumann newton nightingale noether pascal pasteur pearson planck "
    "poincare poisson quetelet ramanujan rao riemann ritchie rubin sagan salk shannon snow sorensen "
    "stokes tesla tukey turing volta wald wiener wilcoxon wright wu yalow yates zuse"
)


def check_name(unsafe_name: str) -> str:
    """The name without a leading slash; raises InvalidArgument with Docker's words."""
    name = unsafe_name.removeprefix("/")
    if not 2 <= len(name) <= MAX_NAME or name[0] not in _FIRST or not _REST.issuperset(name):
        raise InvalidArgument(
            f"Invalid container name ({unsafe_name[:80]}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )
    return name


def random_name(is_taken: Callable[[str], bool], *, choose: random.Random | None = None) -> str:
    """A free name such as `steady_lovelace`."""
    source = choose or random.SystemRandom()
    for attempt in range(1000):
        name = f"{source.choice(ADJECTIVES)}_{source.choice(SURNAMES)}"
        if attempt > 5:
            name += str(source.randrange(10 ** (1 + attempt // 6)))
        if not is_taken(name):
            return name
    raise InvalidArgument("no free container name was found: give one with --name")


@contextmanager
def allocating() -> Iterator[None]:
    """What a rename says of a name that it cannot have, in Docker's words."""
    try:
        yield
    except (Conflict, InvalidArgument) as error:
        raise type(error)(f"Error when allocating new name: {error}") from error
