"""What enters a build from outside: contexts, downloads, repositories, base images.

    contexts.py      a build context, whatever it is, as a Value; start here
    archives.py      a tar as a layer
    reading.py       a file out of a Value: the Dockerfile, .dockerignore
    worktree.py      whether a local context is a clean work tree, and of when
    images.py        base images, and what emulates other machines
    addresses.py     what is refused in addresses; what is shown of them
    http.py          one request: TLS, proxies, redirects, bounds
    downloads.py     a file by its address: asked for anew, fetched only when it changed
    remotes.py       git servers: what a ref means, and a pack of what is wanted
    repositories.py  a ref, a commit, its submodules
    gitlayer.py      a commit's tree as a layer, without a checkout
    gitdirectory.py  .git for --keep-git-dir
    pipes.py         what a context comes through when it is no file
    layerwriting.py  the layers that these make

Everything here is hostile: names, sizes, links, servers.
May import: as `carboy.build`.
"""
