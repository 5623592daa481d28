"""Takes memory and touches every page of it, for as long as it lives."""

held = []
while True:
    held.append(bytearray(b"x") * (8 << 20))
    print(f"\rholding {8 * len(held)} MiB", end="", flush=True)
