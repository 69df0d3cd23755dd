"""What a policy would do to a variant under some traffic: the real plans and alarms, time and service made up.

`traffic` says what comes in, `service` how fleets of replicas bear it, `signals` what their metrics and alarms show;
`scaling` and `rollout` run the plans of `reconcile` over that, and give a `timeline`. Nothing waits and nothing is
drawn by chance: the same question has the same answer. docs/how-to/simulate.md states what the model assumes.
"""
