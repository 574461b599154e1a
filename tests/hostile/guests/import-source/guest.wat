;; A metric that asks for what only a data adapter gets.
(component
  (import "rlhf:plugin/folder@0.1.0" (instance))
  (instance $metric)
  (export "rlhf:plugin/metric@0.1.0" (instance $metric)))
