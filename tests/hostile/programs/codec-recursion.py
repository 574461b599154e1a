import codecs

codecs.register(lambda name: codecs.lookup(name + "x"))
"x".encode("none")
