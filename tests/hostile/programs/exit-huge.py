raise SystemExit(10**30)
