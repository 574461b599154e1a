;; Has names that are none, and could rewrite a terminal. They are read before the
;; component is known to be valid.
(component
  (instance $empty)
  (export "\1b[2Jcleared" (instance $empty))
  (export "rlhf:plugin/metric@\1b[2J" (instance $empty)))
