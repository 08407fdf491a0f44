"""The Dockerfile frontend: a Dockerfile and the configs of its bases become a Graph.

    Document ──plan──▶ stages ──draw──▶ Graph: vertices, and a Target for each image

    inputs.py      what is asked for, and the images that it begins from; start here
    drawing.py     `draw`: the stages in their order, one plan for each platform and target
    stagestate.py  a stage under way: its filesystem, its config, its variables, its history
    draft.py       what the stages share while they are drawn
    bases.py       images and named contexts, by any of their names
    beginning.py   FROM
    running.py     RUN
    copying.py     COPY and ADD
    settings.py    the instructions that change the config only
    onbuild.py     the triggers that a base image brings
    vertices.py    the vertices so far; what is the same is there once
    naming.py      what people see of a step; what an image's history says
    addresses.py   sources of ADD that are not files of the context
    ports.py, signalnames.py, platforms.py   small languages of EXPOSE, STOPSIGNAL and --platform

Pure: no clock, no files, no environment; images arrive through `Bases`.  Import from the modules.
"""
