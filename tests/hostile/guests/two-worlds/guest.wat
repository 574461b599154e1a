;; Exports a metric and a reward shaper: which of them it is called as would be chance.
(component
  (instance $metric)
  (export "rlhf:plugin/metric@0.1.0" (instance $metric))
  (instance $shaper)
  (export "rlhf:plugin/reward-shaper@0.1.0" (instance $shaper)))
