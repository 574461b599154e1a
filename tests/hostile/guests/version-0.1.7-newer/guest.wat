;; A metric of a later version of the line that this host serves, which asks for a
;; function that the host lacks.
(component
  (import "rlhf:plugin/log@0.1.7" (instance $log (export "flush" (func))))
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func $f (canon lift (core func $i "f")))
  (instance $metric
    (export "describe" (func $f)) (export "configure" (func $f)) (export "measure" (func $f))
    (export "score" (func $f)) (export "score-corpus" (func $f)))
  (export "rlhf:plugin/metric@0.1.7" (instance $metric)))
