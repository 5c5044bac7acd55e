package fault

import (
	"slices"
	"strconv"
)

// ClassUnavailable stands for the failures of a system that is not available:
// catch, retry_on and optional calls accept it in place of their codes.
const ClassUnavailable = CodeUnavailable

// codes lists the codes of all failures except those that a `throw` chooses. A
// test compares it with the source and with the reference.
var codes = []string{
	"auth", "bad_answer", "bad_call", "bad_callback", "circuit_open", "connect", "connection_lost", "convert", "crashed_atom",
	"duplicate", "exists", "expired", "expression", "expression_limit", "in_progress", "internal",
	"invalid_document", "key_reused", "no_done_table", "not_ended", "not_found", "outcome_unknown", "own_key", "redirect", "refused", "rejected", "state_conflict", "status", "stream_changed", "thrown",
	"timeout", "too_large", "too_many_rows", "unavailable", "unexpected_rows", "unmocked", "unroutable", "wait_unknown",
	CodeCancelled, CodeDeadline, CodeDocumentLost, CodeJournalMismatch,
}

// Codes returns the codes of all failures except those that a `throw` chooses.
func Codes() []string { return slices.Clone(codes) }

// retryable lists the codes of failures that another attempt may resolve,
// whichever connector reports them. Others depend on the connector, and "status"
// on the status.
var retryable = []string{CodeTimeout, CodeConnect, CodeAborted, CodeUnavailable, "not_ended"}

// Retryable reports whether a failure with this code is always retryable.
func Retryable(code string) bool { return slices.Contains(retryable, code) }

// NeverCaught reports whether no catch receives failures with this code.
func NeverCaught(code string) bool {
	return code == CodeCancelled || code == CodeDeadline || code == CodeJournalMismatch
}

// Matches reports whether code describes the failure: its code, its status, the
// class of its status such as 5xx, or unavailable.
func (f *Failure) Matches(code string) bool {
	switch {
	case code == ClassUnavailable:
		return f.Unavailable()
	case code == f.Code:
		return true
	case f.Status == 0:
		return false
	}
	status := strconv.Itoa(f.Status)
	return code == status || len(code) == 3 && code[1:] == "xx" && code[0] == status[0]
}

// Unavailable reports whether the failure means that a system is not available:
// it could not be reached, did not respond in time, or said so itself.
func (f *Failure) Unavailable() bool {
	switch f.Code {
	case CodeTimeout, CodeConnect, CodeAborted, CodeCircuit:
		return true
	case CodeUnavailable:
		return f.Source != FromAtom // the atom's own store
	case CodeStatus:
		return f.Status == 429 || f.Status == 502 || f.Status == 503 || f.Status == 504
	}
	return false
}
