"""Builds as the engine does them: contexts in, images and archives out.

    service.py    Builder: the face that the API uses; start here
    requests.py   what a client asked for, as a BuildRequest
    work.py       one build from its contexts to its outputs
    opening.py    contexts that were handed over, sent, or are elsewhere
    results.py    images into the store; outputs that the client will fetch
    messages.py   what a client is told: Docker's messages, or a trace
    executor.py   RUN in a container of its own

May import: everything below, as the rest of `engine`.
"""
