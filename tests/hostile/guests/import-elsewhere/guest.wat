;; Asks for an interface of somebody else.
(component
  (import "acme:tools/shell@1.0.0" (instance (export "run" (func (param "command" string)))))
  (instance $metric)
  (export "rlhf:plugin/metric@0.1.0" (instance $metric)))
