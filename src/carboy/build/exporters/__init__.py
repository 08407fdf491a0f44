"""What a build's filesystems become: images in the store, archives and trees for the client.

    document.py     the config of an image: the target's, and its history
    encoders.py     compressors of layers, and what is recorded of them
    compressing.py  layers compressed behind the steps that follow
    layouts.py      types oci and docker: an image, or several platforms of it, as a tar
    flat.py         types tar and local: the files themselves as a tar

What is for the client is not written before it asks for it: an output is a plan, and a lease that holds
the layers.
"""
