"""What several folders of tests share: the programs under test, private places, bundles and root file systems.

Law: everything here drives the real programs; nothing imitates them. What a test makes lives in its own `Place`,
whose end kills, unmounts and removes it, and fails the test when the product had left something behind.
"""
