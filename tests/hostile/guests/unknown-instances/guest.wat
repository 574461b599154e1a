;; Instantiates a component that it is given: how often its parts are there can't be
;; counted beforehand.
(component
  (component $twice
    (import "given" (component $given))
    (instance (instantiate $given))
    (instance (instantiate $given)))
  (component $none)
  (instance (instantiate $twice (with "given" (component $none))))
  (instance $metric)
  (export "rlhf:plugin/metric@0.1.0" (instance $metric)))
