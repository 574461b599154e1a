;; Asks for a function that belongs to no interface.
(component
  (import "run" (func (param "command" string)))
  (instance $metric)
  (export "rlhf:plugin/metric@0.1.0" (instance $metric)))
