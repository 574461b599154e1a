;; Takes handles of the host without end and gives none back. The start function
;; takes them, since a metric has no other use for the clock.
(component
  (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $outer))
    (export "pollable" (type $own (eq $outer)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $own))))))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core module $m
    (import "clock" "subscribe" (func $subscribe (param i64) (result i32)))
    (func $start
      (loop $again
        (drop (call $subscribe (i64.const 0)))
        (br $again)))
    (start $start)
    (func (export "f")))
  (core instance $i (instantiate $m
    (with "clock" (instance (export "subscribe" (func $subscribe))))))
  (func $f (canon lift (core func $i "f")))
  (instance $metric
    (export "describe" (func $f)) (export "configure" (func $f)) (export "measure" (func $f))
    (export "score" (func $f)) (export "score-corpus" (func $f)))
  (export "rlhf:plugin/metric@0.1.0" (instance $metric)))
