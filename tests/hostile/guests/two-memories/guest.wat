;; A metric, written by hand, with two modules whose memories grow by 20 MiB each on
;; the sample `bad`: the limit is for both together.
(component
  (component $metric
    (core module $second
      (memory 1)
      (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))
    (core instance $second (instantiate $second))

    (core module $m
      (import "second" "grow" (func $other (param i32) (result i32)))
      (func $bad
        (if (i32.eq (call $other (i32.const 320)) (i32.const -1)) (then unreachable))
        (if (i32.eq (memory.grow (i32.const 320)) (i32.const -1)) (then unreachable)))

      ;; Texts, a statistic of 0.5 at 48, a descriptor at 64, a result at 256.
      (memory (export "memory") 2)
      (data (i32.const 8) "honest")
      (data (i32.const 16) "0.1.0")
      (data (i32.const 24) "additive")
      (data (i32.const 32) "mean")
      (data (i32.const 48) "\00\00\00\00\00\00\e0\3f")
      (data (i32.const 64) "\08\00\00\00\06\00\00\00\10\00\00\00\05\00\00\00")
      (data (i32.const 96) "\00\00\00\00\00\00\f0\3f\01\00\00\00")
      (data (i32.const 124) "\18\00\00\00\08\00\00\00\20\00\00\00\04\00\00\00\01\00\00\00")

      ;; Memory is handed out in order, and never taken back.
      (global $next (mut i32) (i32.const 1024))
      (func $allocate (param $size i32) (result i32)
        (local $at i32)
        (local.set $at (global.get $next))
        (global.set $next (i32.and
          (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 7))
          (i32.const -8)))
        (local.get $at))
      (func (export "realloc") (param i32 i32 i32) (param $size i32) (result i32)
        (call $allocate (local.get $size)))

      (func (export "describe") (result i32) (i32.const 64))
      (func (export "configure") (param i32 i32) (result i32) (i32.const 256))

      ;; A list of results, each with a list of one statistic.
      (func (export "measure") (param $sample i32) (param $count i32) (result i32)
        (local $result i32)
        (local.set $result (call $allocate (i32.mul (local.get $count) (i32.const 20))))
        (i32.store (i32.const 288) (local.get $result))
        (i32.store (i32.const 292) (local.get $count))
        (loop $each
          (if (local.get $count) (then
            ;; Nothing but `bad` has three letters.
            (if (i32.eq (i32.load offset=4 (local.get $sample)) (i32.const 3))
              (then (call $bad)))
            (i32.store offset=4 (local.get $result) (i32.const 48))
            (i32.store offset=8 (local.get $result) (i32.const 1))
            (local.set $sample (i32.add (local.get $sample) (i32.const 56)))
            (local.set $result (i32.add (local.get $result) (i32.const 20)))
            (local.set $count (i32.sub (local.get $count) (i32.const 1)))
            (br $each))))
        (i32.const 288))

      ;; A list of results, each a score of 0.5.
      (func (export "score") (param i32) (param $count i32) (param i32) (result i32)
        (local $result i32)
        (local.set $result (call $allocate (i32.mul (local.get $count) (i32.const 32))))
        (i32.store (i32.const 288) (local.get $result))
        (i32.store (i32.const 292) (local.get $count))
        (loop $each
          (if (local.get $count) (then
            (f64.store offset=8 (local.get $result) (f64.const 0.5))
            (local.set $result (i32.add (local.get $result) (i32.const 32)))
            (local.set $count (i32.sub (local.get $count) (i32.const 1)))
            (br $each))))
        (i32.const 288))
      (func (export "score-corpus") (param i32 i32) (result i32) unreachable))
    (core instance $i (instantiate $m (with "second" (instance $second))))

    ;; The types of rlhf:plugin/metric.
    (type $error' (record (field "code" string) (field "message" string)))
    (export $error "error" (type $error'))
    (type $sample' (record
      (field "id" string) (field "prompt" string) (field "response" string)
      (field "references" (list string)) (field "language" string)
      (field "tests" (list string)) (field "extra" (list (tuple string string)))))
    (export $sample "sample" (type $sample'))
    (type $named-value' (record (field "name" string) (field "value" f64)))
    (export $named-value "named-value" (type $named-value'))
    (type $descriptor' (record
      (field "name" string) (field "version" string) (field "summary" string)
      (field "minimum" f64) (field "maximum" f64) (field "higher-is-better" bool)
      (field "unit" string) (field "components" (list string)) (field "aggregation" string)
      (field "headline" string) (field "statistics-length" u32) (field "needs" (list string))
      (field "citation" string) (field "signature" string)
      (field "extra" (list (tuple string string)))))
    (export $descriptor "descriptor" (type $descriptor'))
    (type $level' (enum "sample" "corpus"))
    (export $level "level" (type $level'))
    (type $metric-score' (record
      (field "value" f64) (field "components" (list $named-value))
      (field "extra" (list (tuple string string)))))
    (export $metric-score "metric-score" (type $metric-score'))

    (func (export "describe") (result $descriptor)
      (canon lift (core func $i "describe") (memory $i "memory")))
    (func (export "configure") (param "options" string) (result (result (error $error)))
      (canon lift (core func $i "configure") (memory $i "memory") (realloc (func $i "realloc"))))
    (func (export "measure") (param "samples" (list $sample))
      (result (list (result (list f64) (error $error))))
      (canon lift (core func $i "measure") (memory $i "memory") (realloc (func $i "realloc"))))
    (func (export "score") (param "statistics" (list (list f64))) (param "level" $level)
      (result (list (result $metric-score (error $error))))
      (canon lift (core func $i "score") (memory $i "memory") (realloc (func $i "realloc"))))
    (func (export "score-corpus") (param "samples" (list $sample))
      (result (result $metric-score (error $error)))
      (canon lift (core func $i "score-corpus") (memory $i "memory")
        (realloc (func $i "realloc")))))
  (instance $metric (instantiate $metric))
  (export "rlhf:plugin/metric@0.1.0" (instance $metric)))
