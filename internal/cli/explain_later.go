package cli

import (
	"fmt"
	"strings"

	"valence/processes"
)

// alwaysLater reports whether every execution of a listener is durable from
// acceptance, whatever its caller asks for.
func alwaysLater(l *processes.Listen) bool {
	return l != nil && l.Later() && (l.TimeoutAction == processes.Continue || !l.Offers(processes.ModeSync))
}

// later says what comes of replies that are collected after the call.
func (e *explainer) later() {
	l := e.process.Listen
	if l == nil || !l.Later() {
		return
	}
	var ways []string
	if l.Offers(processes.ModeDeferred) {
		ways = append(ways, "Prefer: respond-async")
	}
	if l.Offers(processes.ModeCallback) {
		ways = append(ways, "Callback-Url")
	}
	when := "where the caller asks for it (" + strings.Join(ways, ", ") + ")"
	if alwaysLater(l) {
		e.x.Boundary, e.x.Durable = "", nil
		when = "always"
	}
	e.x.Boundary = strings.TrimSpace(e.x.Boundary + fmt.Sprintf(" At acceptance, %s: the message is on disk before the caller gets 202, and the steps run whether or not it waits.", when))
	e.x.Durable = append(e.x.Durable, when+": the message before the 202, the result of every finished call, and the reply, with the commit that ends the execution",
		"a reply that is collected later: kept for "+exact(e.process.Delivery.Expires.Response)+" from completion")
	if l.Callbacks != nil {
		e.x.Durable = append(e.x.Durable, "a callback: it commits with the reply, and is delivered at least once, with the same webhook-id, by the process valence-callback")
	}
}
