;; Asks for an interface that does not exist.
(component
  (import "rlhf:plugin/filesystem@0.1.0" (instance (export "read" (func (param "path" string) (result (list u8))))))
  (instance $metric)
  (export "rlhf:plugin/metric@0.1.0" (instance $metric)))
