"""A real Kubernetes control plane on the loopback interface, for integration tests.

Nothing here is named ``test_*``, so neither trial nor pytest runs it unless asked by name.
"""
