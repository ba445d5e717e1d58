// The shapes that the service answers with, as this page reads them (the service's /openapi.json is the reference).

/** @typedef {{tenant: string, login: string, roles: string[]}} Session */
/** @typedef {{store: string, name: string, tz: string, demo: boolean}} Store */
/** @typedef {{floor: string, name: string, width_m: number, depth_m: number, cell_m: number}} Floor */
/**
 * @typedef {{zone: string, name: string, kind: string, floor: string, polygon: [number, number][],
 *   categories?: string[]}} Zone
 */
/** @typedef {{node: string, floor: string, x_m: number, y_m: number, z_m?: number, zone?: string | null}} PlanNode */
/**
 * @typedef {{store: string, name: string, tz: string, opens?: string, closes?: string, demo: boolean,
 *   floors: Floor[], zones: Zone[], nodes: PlanNode[]}} Plan
 */

/** A count, or null with the bound it is under. @typedef {{n: number | null, less_than?: number | null}} Counted */
/**
 * @typedef {{at_us: number, people: Counted, zones: (Counted & {zone: string})[], nodes_online: number,
 *   nodes: number}} Now
 */
/**
 * @typedef {{nx: number, ny: number, cell_m: number, visits: number, k: number, unit: string, from_us: number,
 *   to_us: number, suppressed: boolean, told_until_us: number | null, panel_share: number | null,
 *   panel_low: number | null, panel_high: number | null, weight: number | null}} GridMeta
 */
/** Values are row-major, row 0 at y = 0. @typedef {{meta: GridMeta, values: Float32Array}} Grid */
/** @typedef {{from_us: number, to_us: number}} Span */
/** Points are [instant, x, y, spread]. @typedef {{label: string, points: [number, number, number, number][]}} Track */
/**
 * @typedef {{zone: string, name: string, kind: string, visits: number | null, less_than: number | null,
 *   mean_dwell_s: number | null, median_dwell_s: number | null, conversion: number | null}} ZoneRow
 */
/** @typedef {{at_us: number, estimate: number | null, less_than: number | null, low: number | null, high: number | null}} CrowdSlot */
/**
 * @typedef {{of: "people" | "devices", drift: boolean, calibration: {calibrated: boolean}, occupancy: CrowdSlot[]}} CrowdReport
 */
/** @typedef {{state: string, heard: number, per_s: number, restarts: number, detail: string}} SourceHealth */
/** @typedef {{code: string, expires_at_us: number}} ClaimCode */
/**
 * @typedef {{at: number, version: string, config: string, uptime_s: number, clock: string, adverts: number,
 *   adverts_per_s: number, windows: number, outbox_rows: number, outbox_oldest_s: number, dropped: number,
 *   reconnects: number, rss_mb: number, restarts: number, mode?: string, sources?: Record<string, SourceHealth>,
 *   cert_days?: number | null, disk_free_mb?: number | null, temperature_c?: number | null, throttled?: number | null}} Health
 */
/**
 * @typedef {{node: string, state: string, last_seen_us: number | null, zone: string | null, health: Health | null,
 *   stored_batches: number, dead_letters: number, drift: boolean, drift_since_us: number | null,
 *   config_desired: number, config_running: number | null, config_problems: string[]}} NodeRow
 */
/** @typedef {{at_us: number, node: string | null, topic: string, reason: string, detail: string, bytes: number}} DeadLetter */
/** @typedef {{receipt_uid: string, total: number, currency: string, confidence: number, reason: string}} JoinedReceipt */
/**
 * @typedef {{visit_id: string | number, started_us: number, ended_us: number | null, member: string | null,
 *   zones: {zone: string, dwell_s: number}[], receipt: JoinedReceipt | null}} Visit
 */
/**
 * @typedef {{campaign: string, name: string, store: string, zone: string, dwell_s: number, segment: string | null,
 *   offer: string, control_share: number, state?: string}} Campaign
 */
/** @typedef {{n: number, bought: number, rate: number | null}} Arm */
/**
 * @typedef {{decided: number, sent: number, ghosts: number, shown: number, clicked: number, used: number,
 *   refused: Record<string, number>, target: Arm, control: Arm, lift_pp: number | null, ci_low_pp: number | null,
 *   ci_high_pp: number | null, verdict: string, note: string | null}} Result
 */

export {};
