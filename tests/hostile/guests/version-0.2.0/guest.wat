;; A metric of a future version of the interfaces.
(component
  (instance $metric)
  (export "rlhf:plugin/metric@0.2.0" (instance $metric)))
