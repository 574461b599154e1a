;; A metric that does not say of which version it is.
(component
  (instance $metric)
  (export "rlhf:plugin/metric" (instance $metric)))
