"""Commands of the first hour: write settings, check the machine, and get the files that come with greenrun."""
