package authn

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const defaultTolerance = 5 * time.Minute

// signature describes how a sender signs a body.
type signature struct {
	headers   []string // canonical names of the signature header, of which the first present one counts
	algorithm func() hash.Hash
	decode    func(string) ([]byte, error)
	// read returns the claim in the headers of a request. ok is false if they are
	// malformed.
	read func(r *http.Request) (c claim, ok bool)
	key  func(secret string) ([]byte, bool)
	// timed says that the signature covers a time.
	timed bool
}

// claim is the signature of a request: one of the signatures must match the
// body between before and after.
type claim struct {
	signatures    []string
	before, after string
	unix          int64
}

// add adds a signature, unless there are more than allowed already.
func (c *claim) add(mac string) {
	if len(c.signatures) <= maxSignatures {
		c.signatures = append(c.signatures, mac)
	}
}

func presetNames() []string { return []string{"standard-webhooks", "github", "stripe", "shopify"} }

func preset(name string) *signature {
	switch name {
	case "standard-webhooks":
		return &signature{headers: []string{"Webhook-Signature", "Svix-Signature"}, algorithm: sha256.New,
			decode: base64.StdEncoding.DecodeString, read: readStandardWebhooks, key: standardWebhooksKey, timed: true}
	case "github":
		return &signature{headers: []string{"X-Hub-Signature-256"}, algorithm: sha256.New, decode: hex.DecodeString,
			read: readOne("X-Hub-Signature-256", "sha256="), key: plainKey}
	case "stripe":
		return &signature{headers: []string{"Stripe-Signature"}, algorithm: sha256.New, decode: hex.DecodeString,
			read: readStripe, key: plainKey, timed: true}
	case "shopify":
		return &signature{headers: []string{"X-Shopify-Hmac-Sha256"}, algorithm: sha256.New, decode: base64.StdEncoding.DecodeString,
			read: readOne("X-Shopify-Hmac-Sha256", ""), key: plainKey}
	}
	return nil
}

type signed struct {
	form      *signature
	keys      [][]byte
	tolerance time.Duration
}

func newHMAC(s *settings) Authenticator {
	a := &signed{tolerance: s.duration("tolerance", defaultTolerance)}
	if s.has("preset") {
		for _, k := range []string{"header", "algorithm", "encoding", "prefix", "timestamp", "id", "signed"} {
			if s.has(k) {
				s.problem("%s: conflicts with preset; set only one of them", k)
			}
		}
		a.form = preset(s.text("preset"))
	} else {
		a.form = customSignature(s)
	}
	if a.form == nil {
		return a
	}
	if s.has("tolerance") && !a.form.timed {
		s.problem("tolerance: has no effect, because the signature covers no time")
	}
	for i, secret := range s.texts("secret") {
		key, ok := a.form.key(secret)
		if !ok {
			s.problem("secret: value %d is not Base64; the sender shows it in the form whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", i+1)
		}
		a.keys = append(a.keys, key)
	}
	return a
}

func customSignature(s *settings) *signature {
	f := &signature{algorithm: sha256.New, decode: hex.DecodeString, key: plainKey}
	if !s.has("header") {
		s.problem("header: set header or preset (%s)", strings.Join(presetNames(), ", "))
		return nil
	}
	own := ownForm{header: headerName(s, "header", s.text("header"))}
	f.headers = []string{own.header}
	algorithm := "sha256"
	if s.has("algorithm") {
		algorithm = s.text("algorithm")
	}
	switch algorithm {
	case "sha1":
		f.algorithm = sha1.New
	case "sha384":
		f.algorithm = sha512.New384
	case "sha512":
		f.algorithm = sha512.New
	}
	if s.has("encoding") && s.text("encoding") == "base64" {
		f.decode = base64.StdEncoding.DecodeString
	}
	own.prefix = algorithm + "="
	if s.has("prefix") {
		own.prefix, own.mustPrefix = s.text("prefix"), true
	}
	if s.has("timestamp") {
		own.timestamp, f.timed = headerName(s, "timestamp", s.text("timestamp")), true
	}
	if s.has("id") {
		own.id = headerName(s, "id", s.text("id"))
	}
	own.signs(s)
	f.read = own.read
	return f
}

func (a *signed) Authenticate(r *http.Request, body []byte) (string, error) {
	c, ok := a.form.read(r)
	if !ok || len(c.signatures) == 0 || len(c.signatures) > maxSignatures {
		return "", ErrDenied
	}
	if a.form.timed {
		if age := time.Since(time.Unix(c.unix, 0)); age > a.tolerance || age < -a.tolerance {
			return "", ErrDenied
		}
	}
	given := make([][]byte, 0, len(c.signatures))
	for _, s := range c.signatures {
		if mac, err := a.form.decode(s); err == nil {
			given = append(given, mac)
		}
	}
	accepted := false
	for _, key := range a.keys {
		mac := hmac.New(a.form.algorithm, key)
		mac.Write([]byte(c.before))
		mac.Write(body)
		mac.Write([]byte(c.after))
		want := mac.Sum(nil)
		for _, g := range given {
			if hmac.Equal(g, want) {
				accepted = true
			}
		}
	}
	if !accepted {
		return "", ErrDenied
	}
	return "hmac", nil
}

// maxSignatures limits the comparisons per request.
const maxSignatures = 16

func (a *signed) Consumes() []string { return a.form.headers }
func (a *signed) NeedsBody() bool    { return true }

func plainKey(secret string) ([]byte, bool) { return []byte(secret), true }

// standardWebhooksKey decodes the Base64 key after whsec_
// (https://github.com/standard-webhooks/standard-webhooks, "Signature scheme").
func standardWebhooksKey(secret string) ([]byte, bool) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	return key, err == nil && len(key) > 0
}

// readStandardWebhooks parses "v1,<base64> v1,<base64>", signed over
// "id.timestamp.body". All headers have the prefix webhook- or, from senders
// that deliver through Svix, svix-.
func readStandardWebhooks(r *http.Request) (c claim, ok bool) {
	family := "Webhook"
	if _, standard := r.Header["Webhook-Signature"]; !standard {
		family = "Svix"
	}
	value, once := single(r, family+"-Signature")
	id, hasID := single(r, family+"-Id")
	stamp, unix, ok := unixHeader(r, family+"-Timestamp")
	if !ok || !once || !hasID || id == "" {
		return c, false
	}
	for part := range strings.SplitSeq(value, " ") {
		if version, mac, ok := strings.Cut(part, ","); ok && version == "v1" {
			c.add(mac)
		}
	}
	c.before, c.unix = id+"."+stamp+".", unix
	return c, true
}

// readStripe parses "t=<unix>,v1=<hex>,v1=<hex>,v0=…", signed over "t.body"
// (https://docs.stripe.com/webhooks/signatures, "Verify manually").
func readStripe(r *http.Request) (c claim, ok bool) {
	value, once := single(r, "Stripe-Signature")
	if !once {
		return c, false
	}
	for part := range strings.SplitSeq(value, ",") {
		name, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "t":
			if ok {
				return c, false
			}
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				return c, false
			}
			c.before, c.unix, ok = v+".", n, true
		case "v1":
			c.add(v)
		}
	}
	return c, ok
}

// readOne returns a read function for one signature over the body, after a
// prefix.
func readOne(header, prefix string) func(*http.Request) (claim, bool) {
	return func(r *http.Request) (claim, bool) {
		value, once := single(r, header)
		mac, found := strings.CutPrefix(strings.TrimSpace(value), prefix)
		return claim{signatures: []string{mac}}, once && found
	}
}

func unixHeader(r *http.Request, name string) (text string, unix int64, ok bool) {
	text, once := single(r, name)
	unix, err := strconv.ParseInt(text, 10, 64)
	return text, unix, once && err == nil
}
