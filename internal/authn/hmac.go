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

// signature is a form in which senders sign a body.
type signature struct {
	header    string // canonical name of the header with the signature
	timestamp string // canonical name of the header with the signed time, "" if there is none
	algorithm func() hash.Hash
	decode    func(string) ([]byte, error)
	// read takes the header apart: the signatures that one of the secrets
	// must have made, and the text that is signed before the body. It is
	// false where the header is not of the form.
	read func(f *signature, r *http.Request, value string) (signed []string, before string, unix int64, ok bool)
	key  func(secret string) ([]byte, bool)
	// timed is true where a time is signed too.
	timed bool
}

func presetNames() []string { return []string{"standard-webhooks", "github", "stripe", "shopify"} }

func preset(name string) *signature {
	switch name {
	case "standard-webhooks":
		return &signature{header: "Webhook-Signature", timestamp: "Webhook-Timestamp", algorithm: sha256.New,
			decode: base64.StdEncoding.DecodeString, read: readStandardWebhooks, key: standardWebhooksKey, timed: true}
	case "github":
		return &signature{header: "X-Hub-Signature-256", algorithm: sha256.New, decode: hex.DecodeString,
			read: readPrefixed("sha256=", true), key: plainKey}
	case "stripe":
		return &signature{header: "Stripe-Signature", algorithm: sha256.New, decode: hex.DecodeString,
			read: readStripe, key: plainKey, timed: true}
	case "shopify":
		return &signature{header: "X-Shopify-Hmac-Sha256", algorithm: sha256.New, decode: base64.StdEncoding.DecodeString,
			read: readPrefixed("", false), key: plainKey}
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
		for _, k := range []string{"header", "algorithm", "encoding", "timestamp"} {
			if s.has(k) {
				s.problem("%s: is what preset decides; give one or the other", k)
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
		s.problem("tolerance: has no meaning here, because no time is signed")
	}
	for i, secret := range s.texts("secret") {
		key, ok := a.form.key(secret)
		if !ok {
			s.problem("secret: number %d must be base64, as whsec_…", i+1)
		}
		a.keys = append(a.keys, key)
	}
	return a
}

func customSignature(s *settings) *signature {
	f := &signature{algorithm: sha256.New, decode: hex.DecodeString, key: plainKey}
	if !s.has("header") {
		s.problem("header: is missing, or preset: (%s)", strings.Join(presetNames(), ", "))
		return nil
	}
	f.header = headerName(s, "header", s.text("header"))
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
	f.read = readPrefixed(algorithm+"=", false)
	if s.has("timestamp") {
		f.timestamp, f.timed = headerName(s, "timestamp", s.text("timestamp")), true
		f.read = readTimed(algorithm + "=")
	}
	return f
}

func (a *signed) Authenticate(r *http.Request, body []byte) (string, error) {
	value, once := single(r, a.form.header)
	if !once {
		return "", ErrDenied
	}
	signatures, before, unix, ok := a.form.read(a.form, r, value)
	if !ok || len(signatures) == 0 || len(signatures) > maxSignatures {
		return "", ErrDenied
	}
	if a.form.timed {
		if age := time.Since(time.Unix(unix, 0)); age > a.tolerance || age < -a.tolerance {
			return "", ErrDenied
		}
	}
	given := make([][]byte, 0, len(signatures))
	for _, s := range signatures {
		if mac, err := a.form.decode(s); err == nil {
			given = append(given, mac)
		}
	}
	accepted := false
	for _, key := range a.keys {
		mac := hmac.New(a.form.algorithm, key)
		mac.Write([]byte(before))
		mac.Write(body)
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

// maxSignatures bounds what a caller can make us compare.
const maxSignatures = 16

func (a *signed) Consumes() []string { return []string{a.form.header} }
func (a *signed) NeedsBody() bool    { return true }

func plainKey(secret string) ([]byte, bool) { return []byte(secret), true }

// standardWebhooksKey: the key is the base64 behind whsec_
// (https://github.com/standard-webhooks/standard-webhooks, "Signature scheme").
func standardWebhooksKey(secret string) ([]byte, bool) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	return key, err == nil && len(key) > 0
}

// readStandardWebhooks: "v1,<base64> v1,<base64>" over "id.timestamp.body".
func readStandardWebhooks(f *signature, r *http.Request, value string) ([]string, string, int64, bool) {
	id, hasID := single(r, "Webhook-Id")
	stamp, unix, ok := unixHeader(r, f.timestamp)
	if !ok || !hasID || id == "" {
		return nil, "", 0, false
	}
	var signatures []string
	for part := range strings.SplitSeq(value, " ") {
		if version, mac, ok := strings.Cut(part, ","); ok && version == "v1" {
			signatures = append(signatures, mac)
		}
	}
	return signatures, id + "." + stamp + ".", unix, true
}

// readStripe: "t=<unix>,v1=<hex>,v1=<hex>,v0=…" over "t.body"
// (https://docs.stripe.com/webhooks/signatures, "Verify manually").
func readStripe(_ *signature, _ *http.Request, value string) (signatures []string, before string, unix int64, ok bool) {
	for part := range strings.SplitSeq(value, ",") {
		name, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "t":
			if ok {
				return nil, "", 0, false
			}
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				return nil, "", 0, false
			}
			before, unix, ok = v+".", n, true
		case "v1":
			signatures = append(signatures, v)
		}
	}
	return signatures, before, unix, ok
}

// readPrefixed: one signature over the body, behind a prefix that must or may be there.
func readPrefixed(prefix string, must bool) func(*signature, *http.Request, string) ([]string, string, int64, bool) {
	return func(_ *signature, _ *http.Request, value string) ([]string, string, int64, bool) {
		mac, found := strings.CutPrefix(strings.TrimSpace(value), prefix)
		return []string{mac}, "", 0, found || !must
	}
}

func readTimed(prefix string) func(*signature, *http.Request, string) ([]string, string, int64, bool) {
	return func(f *signature, r *http.Request, value string) ([]string, string, int64, bool) {
		stamp, unix, ok := unixHeader(r, f.timestamp)
		return []string{strings.TrimPrefix(strings.TrimSpace(value), prefix)}, stamp + ".", unix, ok
	}
}

func unixHeader(r *http.Request, name string) (text string, unix int64, ok bool) {
	text, once := single(r, name)
	unix, err := strconv.ParseInt(text, 10, 64)
	return text, unix, once && err == nil
}
