package processes

import (
	"fmt"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"valence/internal/document"
	"valence/internal/egress"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
)

// The ways of getting a reply that a listener may offer.
const (
	ModeSync     = "sync"     // on the same connection
	ModeDeferred = "deferred" // collected later, at a Location
	ModeCallback = "callback" // posted to a URL that the caller names
)

// Continue is the timeout action that turns a slow synchronous call into a
// deferred one.
const Continue = "continue"

// Callbacks are where callers may ask to be called back.
type Callbacks struct {
	Pos      fault.Pos
	Settings *expression.Template // allow and secret, over env and secret
}

// Expires tells how long things wait for somebody.
type Expires struct {
	Request  time.Duration // from acceptance until the first start; zero: never
	Response time.Duration // how long a deferred reply is kept, from completion
}

// Offers reports whether a caller may ask for a mode.
func (l *Listen) Offers(mode string) bool { return contains(l.ReplyModes, mode) }

// Sync reports whether a caller may get its reply on the same connection.
func (l *Listen) Sync() bool {
	return l.Output != "" && (len(l.ReplyModes) == 0 || l.Offers(ModeSync))
}

// Later reports whether a reply may be collected after the call.
func (l *Listen) Later() bool {
	return l.Output != "" && (l.Offers(ModeDeferred) || l.Offers(ModeCallback) || l.TimeoutAction == Continue)
}

type callbacksDecl struct{ Allow, Secret any }

type expiresDecl struct{ Request, Response time.Duration }

var callbackFields = []spec.Field{
	spec.Any("allow", func(c *callbacksDecl) *any { return &c.Allow }, "URLs; what a caller names must be one of them or below one. Its host must have public addresses alone: others are allowed where they, or their network (`10.0.3.0/24`), stand in this list too. May read `env`.").Eg("[https://shop.example/hooks/]").Required(),
	spec.Any("secret", func(c *callbacksDecl) *any { return &c.Secret }, "What callbacks are signed with, in the form of Standard Webhooks: base64 of 24 to 64 bytes, with `whsec_` before it. Of a list, every one signs, so that receivers can change over.").Eg("${secret.CALLBACK_KEY}").Required(),
}

var expiresFields = []spec.Field{
	spec.Duration("request", func(e *expiresDecl) *time.Duration { return &e.Request }, "From acceptance until the first start, also while it is blocked by its sequence: an execution that has not begun by then ends `expired`, and is listed with the failed ones. Never by default.").Min(time.Second).Max(longest),
	spec.Duration("response", func(e *expiresDecl) *time.Duration { return &e.Response }, "How long a deferred reply is kept, from completion.").Or(keptReplies).Min(time.Second).Max(longest),
}

const keptReplies = 24 * time.Hour

// replyModes checks what a caller may ask for.
func (b *building) replyModes(l *Listen, decl *listenDecl, n *yaml.Node, d *spec.Decoder) {
	l.ReplyModes = decl.ReplyModes
	at := valueAt(n, "reply_modes")
	if at != nil && at.Kind == yaml.SequenceNode && len(at.Content) == 0 {
		d.Problem(at, spec.CodeWrongValue, "`reply_modes:` is empty: nobody could get the reply", "write `reply_modes: [sync, deferred]`")
	}
	for i, m := range l.ReplyModes {
		if contains(l.ReplyModes[:i], m) {
			d.Problem(at, CodeDuplicateName, "the mode "+m+" is there twice", "keep one of them")
		}
	}
	if l.Output == "" {
		for _, key := range []string{"reply_modes", "callbacks"} {
			if v := valueAt(n, key); v != nil {
				d.Problem(v, CodeNoEffect, "`"+key+":` has no effect without `output:`: there is no reply", "drop it, or add `output:`")
			}
		}
		l.ReplyModes = nil
		return
	}
	asked := l.Offers(ModeCallback)
	switch c := valueAt(n, "callbacks"); {
	case asked && c == nil:
		d.Problem(at, spec.CodeMissingKey, "the mode callback needs `callbacks:`, which says where callers may be called back", "add `callbacks: { allow: [https://shop.example/hooks/], secret: \"${secret.CALLBACK_KEY}\" }`")
	case !asked && c != nil:
		d.Problem(c, CodeNoEffect, "`callbacks:` has no effect without the mode callback", "add it: `reply_modes: [sync, callback]`, or drop `callbacks:`")
	case asked && decl.Callbacks != nil:
		l.Callbacks = b.callbacks(c, d)
	}
}

func (b *building) callbacks(n *yaml.Node, d *spec.Decoder) *Callbacks {
	c := &Callbacks{Pos: b.comp.pos(n)}
	if at := valueAt(n, "allow"); at != nil {
		allowed(d, at)
	}
	if secret := valueAt(n, "secret"); secret != nil && !readsSecret(secret) {
		b.problems = append(b.problems, &fault.Problem{Pos: b.comp.pos(secret), Severity: fault.Warning, Code: CodePlainSecret,
			Msg: "`secret:` stands in the file for everybody who can read it", Hint: "write `secret: ${secret.NAME}`, and keep the value in the environment"})
	}
	c.Settings = b.l.evaluated(b.comp, n)
	return c
}

// allowed checks the list as far as it is known before the run.
func allowed(d *spec.Decoder, at *yaml.Node) {
	items := []*yaml.Node{at}
	if at.Kind == yaml.SequenceNode {
		items = at.Content
	}
	if len(items) == 0 {
		d.Problem(at, spec.CodeWrongValue, "`allow:` is empty: nobody could be called back", "write the URLs that callers may name, such as `[https://shop.example/hooks/]`")
		return
	}
	urls := false
	for _, e := range items {
		if spec.ShapeOf(e) != spec.TextShape {
			d.Problem(e, spec.CodeWrongType, "`allow:` must be a list of texts, not "+spec.DescribeNode(e), "write URLs, such as `[https://shop.example/hooks/]`")
			return
		}
		known := !spec.HoldsExpression(e.Value)
		urls = urls || !known || strings.Contains(e.Value, "://")
		if !known {
			continue
		}
		if _, err := egress.Parse([]string{e.Value}); err != nil {
			d.Problem(e, spec.CodeWrongValue, "this cannot be allowed: "+err.Error(), "write a URL such as https://shop.example/hooks/, or an address or network such as 10.0.3.0/24")
			urls = true
		}
	}
	if !urls {
		d.Problem(at, spec.CodeWrongValue, "`allow:` has addresses alone, which allow no URL", "add the URLs that callers may name, such as https://shop.example/hooks/")
	}
}

// Resolve evaluates the settings: the list of what is allowed, as package
// egress reads it, and the secrets. An error is a *fault.Problem at the callbacks.
func (c *Callbacks) Resolve(env *expression.Env) (allow, secrets []string, err error) {
	o, err := settingsOf(c.Settings, env)
	if err == nil {
		if allow, err = texts(o, "allow"); err == nil {
			secrets, err = texts(o, "secret")
		}
	}
	if err != nil {
		return nil, nil, &fault.Problem{Pos: c.Pos, Code: CodeWrongSettings, Msg: "callbacks: " + err.Error(), Hint: "look at the values that its expressions have here"}
	}
	return allow, secrets, nil
}

// texts gives a text, or a list of them.
func texts(o *document.Object, key string) ([]string, error) {
	v, _ := o.Get(key)
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	out := make([]string, len(list))
	for i, e := range list {
		text, ok := e.(string)
		if !ok || text == "" {
			return nil, fmt.Errorf("`%s:` is %s, not text", key, document.TypeName(e))
		}
		out[i] = text
	}
	return out, nil
}

// begunAtOnce refuses a time to begin by where requests begin in the caller's
// memory. It is known once it is known what callers wait for.
func (l *loader) begunAtOnce(b *building) {
	listen := b.proc.Listen
	if b.beginsBy == (fault.Pos{}) || listen == nil || listen.Output == "" || listen.Later() || b.proc.SuspendsCaller {
		return
	}
	l.problems = append(l.problems, &fault.Problem{Pos: b.beginsBy, Code: CodeNoEffect,
		Msg: "`request:` has no effect: a request is begun at once, or refused", Hint: "drop it"})
}

// expires says how long things wait.
func (b *building) expires(decl *expiresDecl, d *spec.Decoder) {
	b.proc.Delivery.Expires = Expires{Response: keptReplies}
	if decl == nil {
		return
	}
	b.proc.Delivery.Expires.Response, b.proc.Delivery.Expires.Request = decl.Response, decl.Request
	if at := valueAt(b.comp.root, "expires", "request"); at != nil {
		b.beginsBy = b.comp.pos(at)
	}
	at := valueAt(b.comp.root, "expires", "response")
	if l := b.proc.Listen; at != nil && (l == nil || !l.Later()) {
		d.Problem(at, CodeNoEffect, "`response:` has no effect: no caller can collect a reply later", "add `reply_modes: [sync, deferred]` to a listener with `output:`, or drop it")
	}
}
