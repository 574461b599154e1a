;; Exports a metric without functions.
(component
  (instance $metric)
  (export "rlhf:plugin/metric@0.1.0" (instance $metric)))
