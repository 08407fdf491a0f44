"""What enters a build from outside: contexts, downloads, repositories, base images.

    addresses.py   which words are addresses; credentials are taken out of what is shown
    http.py        one request: TLS, proxies, redirects, bounds
    downloads.py   a file by its address: asked for anew, fetched only when it changed
    remotes.py     git repositories: what a ref means, and the objects of one commit
    gitobjects.py  objects out of the pack that came
    gitlayer.py    a commit's tree as a layer, without a checkout
    worktree.py    whether a local context is a clean work tree, and of when
    contexts.py    a build context, whatever it is, as a Value; start here
    reading.py     a file out of a Value: the Dockerfile, .dockerignore
    images.py      base images, and what emulates other machines

Everything here is hostile: names, sizes, links, servers.
May import: as `carboy.build`.
"""
