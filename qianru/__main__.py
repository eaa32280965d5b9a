"""python -m qianru"""

from qianru.cli import main

if __name__ == "__main__":
    main()
