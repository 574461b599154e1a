;; Exports all functions of a metric, with other types.
(component
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func $f (canon lift (core func $i "f")))
  (instance $metric
    (export "describe" (func $f)) (export "configure" (func $f)) (export "measure" (func $f))
    (export "score" (func $f)) (export "score-corpus" (func $f)))
  (export "rlhf:plugin/metric@0.1.0" (instance $metric)))
