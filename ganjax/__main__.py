"""python -m ganjax COMMAND"""

from ganjax import commandline

commandline.main()
