;; Was built for a later WASI than the host has.
(component
  (import "wasi:cli/environment@0.3.0" (instance))
  (instance $metric)
  (export "rlhf:plugin/metric@0.1.0" (instance $metric)))
