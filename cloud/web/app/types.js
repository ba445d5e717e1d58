// The shapes that the service answers a member's page with.

/** @typedef {{card: string, name: string, since_us: number}} Me */
/** @typedef {"sent" | "shown" | "clicked" | "used" | "expired" | "dismissed"} OfferState */
/**
 * @typedef {{push_id: string, title: string, body: string, offer: string, coupon: string | null, state: OfferState,
 *   sent_us: number, expires_us: number, why: string | null}} Offer
 */
/** @typedef {{purpose: string, title: string, text: string, granted: boolean}} Consent */
/**
 * What is kept on the phone for the time without a connection, and how far the phone's clock was off then.
 * @typedef {{me: Me, offers: Offer[], at_us: number, offset_us: number}} Snapshot
 */

export {};
