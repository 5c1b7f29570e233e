"""The version of the keys, apart from what makes them: a build where nothing is to do asks for it alone."""

KEY_VERSION = 1
