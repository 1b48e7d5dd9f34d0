# attack: read a file as a module
# damage: secret
import importlib.machinery

loader = importlib.machinery.SourceFileLoader("secret", "{DIR}/secret")
raise RuntimeError(loader.get_data("{DIR}/secret"))


def add(a, b):
    return None
