;; A metric of a future version of the interfaces.
(component
  (instance $metric)
  (export "rlhf:plugin/metric@9.0.0" (instance $metric)))
