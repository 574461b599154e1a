;; Asks for the encoder: it must be granted, and the run must have one.
(component
  (import "rlhf:plugin/encoder@0.1.0" (instance))
  (instance $metric)
  (export "rlhf:plugin/metric@0.1.0" (instance $metric)))
