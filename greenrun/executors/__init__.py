"""Where runs are executed: `local` runs them on this machine, each beside a supervisor that outlives the daemon."""
