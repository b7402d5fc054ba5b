"""What is seen of writers, of connections and certificates, of instances, and from outside."""

from typing import Final

from helm.dashboard.making import QUARTER, Panel, Query, Row, of, rate

WRITES: Final = Row(
    "Writes and refusals",
    [
        Panel(
            "Writes by result",
            "Writes that passed every check, by what the cluster made of them.",
            "reqps",
            [Query(rate("sre_server_scale_writes_total", "result"), "{{result}}")],
            stacked=True,
        ),
        Panel(
            "Writes by identity",
            "Who writes. The first fifty clients are named, later ones are `other`.",
            "reqps",
            [
                Query(
                    f"topk(10, {rate('sre_server_identity_writes_total', 'identity, result')})",
                    "{{identity}}: {{result}}",
                )
            ],
        ),
        Panel(
            "Refusals by identity",
            "Who is refused, and why.",
            "reqps",
            [
                Query(
                    f"topk(10, {rate('sre_server_identity_refusals_total', 'identity, reason')})",
                    "{{identity}}: {{reason}}",
                )
            ],
        ),
        Panel(
            "Throttled",
            "Requests that were answered 429, by kind.",
            "reqps",
            [Query(rate("sre_server_throttled_total", "kind"), "{{kind}}")],
        ),
        Panel(
            "Denied",
            "Clients that may not, or are not identified; and writes that a guardrail refused, by rule.",
            "reqps",
            [
                Query(rate("sre_server_denied_total", "reason"), "{{reason}}"),
                Query(rate("sre_server_guardrail_denials_total", "rule"), "guardrail {{rule}}"),
            ],
        ),
        Panel(
            "Reverts",
            "Counts that were not to last: somebody else changed them within a minute, as an autoscaler or GitOps "
            "does, or the cluster's admission did at once.",
            "short",
            [
                Query(f"sum by (instance) (increase({of('sre_server_reverts_detected_total')}[1h]))", "{{instance}}"),
                Query(
                    f"sum by (instance) (increase({of('sre_server_admission_changes_total')}[1h]))",
                    "{{instance}}: admission",
                ),
            ],
        ),
    ],
)

CLIENTS: Final = Row(
    "Connections and certificates",
    [
        Panel(
            "Connections and clients",
            "Open connections to the API port, and the different identities behind them.",
            "short",
            [
                Query(f"sum by (instance) ({of('sre_server_connections')})", "connections, {{instance}}"),
                Query(f"sum by (instance) ({of('sre_server_clients_connected')})", "clients, {{instance}}"),
            ],
        ),
        Panel(
            "Connections turned away",
            "By the limit that they met.",
            "cps",
            [Query(rate("sre_server_connections_refused_total", "reason"), "{{reason}}")],
        ),
        Panel(
            "Certificates end in",
            "The server's own, the first client CA to end, and when revocation lists are due.",
            "s",
            [
                Query(
                    f"min by (role) ({of('sre_server_tls_certificate_expiry_timestamp_seconds')}) - time()",
                    "{{role}}",
                ),
                Query(
                    f"min by (issuer) ({of('sre_server_tls_crl_next_update_timestamp_seconds')}) - time()",
                    "revocation list of {{issuer}}",
                ),
            ],
        ),
        Panel(
            "Clients' certificates end in",
            "Of clients that used one within the last hour that ends within --expiry-warning.",
            "s",
            [
                Query(
                    "bottomk(10, min by (identity)"
                    f" ({of('sre_server_identity_certificate_expiry_timestamp_seconds')}) - time())",
                    "{{identity}}",
                )
            ],
        ),
        Panel(
            "Requests under certificates that end soon",
            "How much of the traffic would stop.",
            "reqps",
            [Query(rate("sre_server_client_certificate_expiring_requests_total"), "requests")],
        ),
        Panel(
            "Files read again",
            "Changes of TLS files, policy and guardrails that were taken over or refused; 1 while one cannot be used.",
            "short",
            [
                Query(
                    f"sum by (what, result) (increase({of('sre_server_reloads_total')}[1h]))",
                    "{{what}}: {{result}}",
                ),
                Query(f"max by (what) ({of('sre_server_reload_failing')})", "{{what}}: failing"),
            ],
        ),
    ],
)

INSTANCES: Final = Row(
    "Instances",
    [
        Panel(
            "Turnover",
            "Instances that were started within the last hour, new ones and restarts in place.",
            "short",
            [
                Query(
                    f"sum by (job) (changes({of('sre_server_start_time_seconds')}[1h])"
                    f" + (min_over_time({of('sre_server_start_time_seconds')}[1h]) > bool (time() - 3600)))",
                    "started, {{job}}",
                ),
                Query(f"sum by (job) (increase({of('sre_server_stops_total')}[1h]))", "stops seen, {{job}}"),
                Query(f"count by (job) ({of('sre_server_starts_total')})", "running, {{job}}"),
            ],
        ),
        Panel(
            "Uptime",
            "Since each instance started.",
            "s",
            [Query(f"time() - {of('sre_server_start_time_seconds')}", "{{instance}}")],
        ),
        Panel(
            "Versions",
            "How many instances run which version, in which role; two versions during a rollout.",
            "short",
            [Query(f"count by (version, role) ({of('sre_server_build_info')})", "{{version}} {{role}}")],
        ),
        Panel(
            "CPU",
            "Cores in use. One instance uses one core at most, and little more for its threads.",
            "none",
            [Query(f"rate({of('process_cpu_seconds_total')}[$__rate_interval])", "{{instance}}")],
        ),
        Panel(
            "Memory",
            "Resident memory.",
            "bytes",
            [Query(f"{of('process_resident_memory_bytes')}", "{{instance}}")],
        ),
        Panel(
            "File descriptors",
            "Share of those that the process may have.",
            "percentunit",
            [Query(f"{of('process_open_fds')} / {of('process_max_fds')}", "{{instance}}")],
        ),
        Panel(
            "Log messages",
            "By level. A critical one is a bug, or an audit log that takes no lines.",
            "short",
            [Query(f"sum by (level) (increase({of('sre_server_log_messages_total')}[5m]))", "{{level}}")],
        ),
        Panel(
            "Audit failures",
            "Lines that the audit log did not take, within five minutes.",
            "short",
            [Query(f"sum by (instance) (increase({of('sre_server_audit_failures_total')}[5m]))", "{{instance}}")],
        ),
        Panel(
            "Garbage collections",
            "Of each generation; the oldest is the one that takes time.",
            "ops",
            [Query(rate("python_gc_collections_total", "generation"), "generation {{generation}}")],
        ),
    ],
)

SYNTHETIC: Final = Row(
    "Synthetic query",
    [
        Panel(
            "Checks",
            "1 for each check of the last run that succeeded.",
            "short",
            [Query("min by (check) (sre_server_synthetic_check_success)", "{{check}}")],
            width=QUARTER,
        ),
        Panel(
            "Duration of checks",
            "How long each check of the last run took, as a client sees it.",
            "s",
            [Query("max by (check) (sre_server_synthetic_check_duration_seconds)", "{{check}}")],
            stacked=True,
            width=QUARTER,
        ),
        Panel(
            "Since the last run and the last success",
            "Seconds; both stay below the CronJob's period when all is well.",
            "s",
            [
                Query("time() - max(sre_server_synthetic_last_run_timestamp_seconds)", "last run"),
                Query("time() - max(sre_server_synthetic_last_success_timestamp_seconds)", "last success"),
                Query("max(sre_server_synthetic_duration_seconds)", "duration of the last run"),
            ],
            width=QUARTER,
        ),
        Panel(
            "The server's certificate, seen from outside",
            "Until the certificate ends that the synthetic query was shown.",
            "s",
            [Query("min(sre_server_synthetic_certificate_expiry_timestamp_seconds) - time()", "remaining")],
            width=QUARTER,
        ),
    ],
)
