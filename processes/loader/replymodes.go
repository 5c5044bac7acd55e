package loader

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/egress"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
	"valence/processes/language"
)

// replyModes checks the modes that a caller may ask for.
func (b *processBuilder) replyModes(l *processes.Listen, decl *language.Listen, n *yaml.Node, d *spec.Decoder) {
	l.ReplyModes = decl.ReplyModes
	at := valueAt(n, "reply_modes")
	if at != nil && at.Kind == yaml.SequenceNode && len(at.Content) == 0 {
		d.Problem(at, spec.CodeWrongValue, "`reply_modes:` is empty: no caller could get the reply", "write `reply_modes: [sync, deferred]`")
	}
	for i, m := range l.ReplyModes {
		if slices.Contains(l.ReplyModes[:i], m) {
			d.Problem(at, processes.CodeDuplicateName, "the mode "+m+" is listed twice", "remove one of them")
		}
	}
	if l.Output == "" {
		for _, key := range []string{"reply_modes", "callbacks"} {
			if v := valueAt(n, key); v != nil {
				d.Problem(v, processes.CodeNoEffect, "`"+key+":` has no effect without `output:`: there is no reply", "remove it, or add `output:`")
			}
		}
		l.ReplyModes = nil
		return
	}
	asked := l.Offers(processes.ModeCallback)
	switch c := valueAt(n, "callbacks"); {
	case asked && c == nil:
		d.Problem(at, spec.CodeMissingKey, "the mode `callback` needs `callbacks:`", "add `callbacks: { allow: [https://shop.example/hooks/], secret: \"${secret.CALLBACK_KEY}\" }`")
	case !asked && c != nil:
		d.Problem(c, processes.CodeNoEffect, "`callbacks:` has no effect without the mode `callback`", "write `reply_modes: [sync, callback]`, or remove `callbacks:`")
	case asked && decl.Callbacks != nil:
		l.Callbacks = b.callbacks(c, d)
	}
}

func (b *processBuilder) callbacks(n *yaml.Node, d *spec.Decoder) *processes.Callbacks {
	c := &processes.Callbacks{Pos: b.comp.pos(n)}
	if at := valueAt(n, "allow"); at != nil {
		allowed(d, at)
	}
	if secret := valueAt(n, "secret"); secret != nil && !readsSecret(secret) {
		b.problems = append(b.problems, &fault.Problem{Pos: b.comp.pos(secret), Severity: fault.Warning, Code: processes.CodePlainSecret, Secret: true,
			Msg: "the value of `secret:` is readable in the file", Hint: "write `secret: ${secret.NAME}`, and declare the secret in the environment"})
	}
	c.Settings, _ = b.l.evaluated(b.comp, n)
	return c
}

// allowed checks the entries of `allow:` that are no expressions.
func allowed(d *spec.Decoder, at *yaml.Node) {
	items := []*yaml.Node{at}
	if at.Kind == yaml.SequenceNode {
		items = at.Content
	}
	if len(items) == 0 {
		d.Problem(at, spec.CodeWrongValue, "`allow:` is empty: no URL is allowed", "list the URLs that callers may name, such as `[https://shop.example/hooks/]`")
		return
	}
	urls := false
	for _, e := range items {
		if spec.ShapeOf(e) != spec.TextShape {
			d.Problem(e, spec.CodeWrongType, "`allow:` must be a list of strings, not "+spec.DescribeNode(e), "write URLs, such as `[https://shop.example/hooks/]`")
			return
		}
		known := !spec.HoldsExpression(e.Value)
		urls = urls || !known || strings.Contains(e.Value, "://")
		if !known {
			continue
		}
		if _, err := egress.Parse([]string{e.Value}); err != nil {
			d.Problem(e, spec.CodeWrongValue, "this entry is not valid: "+err.Error(), "write a URL such as https://shop.example/hooks/, or an address or network such as 10.0.3.0/24")
			urls = true
		}
	}
	if !urls {
		d.Problem(at, spec.CodeWrongValue, "`allow:` lists only addresses, so no URL is allowed", "add the URLs that callers may name, such as https://shop.example/hooks/")
	}
}

// startedAtOnce reports `expires.request` of a process whose executions always
// start at once. It requires SuspendsCaller to be set.
func (l *loader) startedAtOnce(b *processBuilder) {
	listen := b.proc.Listen
	if b.requestExpiry == (fault.Pos{}) || listen == nil || listen.Output == "" || listen.Later() || listen.HasOneWay() || b.proc.SuspendsCaller {
		return
	}
	l.problems = append(l.problems, &fault.Problem{Pos: b.requestExpiry, Code: processes.CodeNoEffect,
		Msg: "`request:` has no effect: requests start at once or are rejected", Hint: "remove it"})
}

// expires sets and checks the time limits.
func (b *processBuilder) expires(decl *language.Expires, d *spec.Decoder) {
	b.proc.Delivery.Expires = processes.Expires{Response: language.DefaultReplyRetention}
	if decl == nil {
		return
	}
	b.proc.Delivery.Expires.Response, b.proc.Delivery.Expires.Request = decl.Response, decl.Request
	if at := valueAt(b.comp.root, "expires", "request"); at != nil {
		b.requestExpiry = b.comp.pos(at)
	}
	at := valueAt(b.comp.root, "expires", "response")
	if l := b.proc.Listen; at != nil && (l == nil || !l.Later()) {
		d.Problem(at, processes.CodeNoEffect, "`response:` has no effect: no caller can get a deferred reply", "add `reply_modes: [sync, deferred]` to a listener with `output:`, or remove it")
	}
}
