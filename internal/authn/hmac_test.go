package authn

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// The first signature is from GitHub's "Validating webhook deliveries". The
// others were created with `openssl dgst -hmac` as the senders document.
func TestSignatures(t *testing.T) {
	type m = map[string]any
	event := `{"id":"evt_1","type":"charge.succeeded"}`
	at := time.Unix(1492774577, 0)
	const stripeMAC = "4ee5e8d695c9619e003fd480d3d51700d924e29697337d379a6ef6e06e703ab4"
	for _, c := range []struct {
		name     string
		settings m
		body     string
		headers  []string
		late     time.Duration
		accepted bool
	}{
		{"github", m{"preset": "github", "secret": "It's a Secret to Everybody"}, "Hello, World!",
			[]string{"X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}, 0, true},
		{"github, another body", m{"preset": "github", "secret": "It's a Secret to Everybody"}, "Hello, World?",
			[]string{"X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}, 0, false},
		{"github, another secret", m{"preset": "github", "secret": "x"}, "Hello, World!",
			[]string{"X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}, 0, false},
		{"github, rotated", m{"preset": "github", "secret": []any{"x", "It's a Secret to Everybody"}}, "Hello, World!",
			[]string{"X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}, 0, true},
		{"github, without the algorithm", m{"preset": "github", "secret": "It's a Secret to Everybody"}, "Hello, World!",
			[]string{"X-Hub-Signature-256", "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}, 0, false},
		{"github, the old header", m{"preset": "github", "secret": "It's a Secret to Everybody"}, "Hello, World!",
			[]string{"X-Hub-Signature", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}, 0, false},
		{"github, no hex", m{"preset": "github", "secret": "s"}, "x", []string{"X-Hub-Signature-256", "sha256=zz"}, 0, false},
		{"github, nothing", m{"preset": "github", "secret": "s"}, "x", []string{"X-Hub-Signature-256", "sha256="}, 0, false},
		{"github, no header", m{"preset": "github", "secret": "s"}, "x", nil, 0, false},

		{"stripe", m{"preset": "stripe", "secret": "whsec_test_secret"}, event, []string{"Stripe-Signature", "t=1492774577,v1=" + stripeMAC + ",v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39"}, 0, true},
		{"stripe, second of two", m{"preset": "stripe", "secret": "whsec_test_secret"}, event, []string{"Stripe-Signature", "t=1492774577,v1=00ff,v1=" + stripeMAC}, 0, true},
		{"stripe, only v0", m{"preset": "stripe", "secret": "whsec_test_secret"}, event, []string{"Stripe-Signature", "t=1492774577,v0=" + stripeMAC}, 0, false},
		{"stripe, in time", m{"preset": "stripe", "secret": "whsec_test_secret"}, event, []string{"Stripe-Signature", "t=1492774577,v1=" + stripeMAC}, 5 * time.Minute, true},
		{"stripe, too old", m{"preset": "stripe", "secret": "whsec_test_secret"}, event, []string{"Stripe-Signature", "t=1492774577,v1=" + stripeMAC}, 5*time.Minute + time.Second, false},
		{"stripe, longer tolerance", m{"preset": "stripe", "secret": "whsec_test_secret", "tolerance": "1h"}, event, []string{"Stripe-Signature", "t=1492774577,v1=" + stripeMAC}, 50 * time.Minute, true},
		{"stripe, from the future", m{"preset": "stripe", "secret": "whsec_test_secret"}, event, []string{"Stripe-Signature", "t=1492774577,v1=" + stripeMAC}, -6 * time.Minute, false},
		{"stripe, another time", m{"preset": "stripe", "secret": "whsec_test_secret"}, event, []string{"Stripe-Signature", "t=1492774578,v1=" + stripeMAC}, 0, false},
		{"stripe, two times", m{"preset": "stripe", "secret": "whsec_test_secret"}, event, []string{"Stripe-Signature", "t=1492774577,t=1492774577,v1=" + stripeMAC}, 0, false},
		{"stripe, no time", m{"preset": "stripe", "secret": "whsec_test_secret"}, event, []string{"Stripe-Signature", "v1=" + stripeMAC}, 0, false},
		{"stripe, overflowing time", m{"preset": "stripe", "secret": "whsec_test_secret"}, event, []string{"Stripe-Signature", "t=99999999999999999999,v1=" + stripeMAC}, 0, false},

		{"shopify", m{"preset": "shopify", "secret": "hush"}, `{"id":820982911946154508}`, []string{"X-Shopify-Hmac-Sha256", "qBvrsZF7RfB1iS6BX6IHqJTp5L911P7intnPeTPsH0I="}, 0, true},
		{"shopify, another body", m{"preset": "shopify", "secret": "hush"}, `{"id": 820982911946154508}`, []string{"X-Shopify-Hmac-Sha256", "qBvrsZF7RfB1iS6BX6IHqJTp5L911P7intnPeTPsH0I="}, 0, false},

		{"own form", m{"header": "x-signature", "algorithm": "sha512", "encoding": "base64", "secret": "k"}, "hi", []string{"X-Signature", "WWL8OrUxN50XmKgkJDkPlhOfHKmz6bPxDTonTy6JilEhXoxBxogg7KtdfMhWtL1uDkHRP+JiONIQ1L7N8CQZKg=="}, 0, true},
		{"own form, naming the algorithm", m{"header": "x-signature", "algorithm": "sha512", "encoding": "base64", "secret": "k"}, "hi", []string{"X-Signature", "sha512=WWL8OrUxN50XmKgkJDkPlhOfHKmz6bPxDTonTy6JilEhXoxBxogg7KtdfMhWtL1uDkHRP+JiONIQ1L7N8CQZKg=="}, 0, true},
		{"own form with time", m{"header": "X-Sig", "algorithm": "sha1", "timestamp": "X-Time", "secret": "k"}, "hi", []string{"X-Sig", "8e6bec72ceb39566738080a690e9b2c1cc3ca644", "X-Time", "1492774577"}, 0, true},
		{"own form, too old", m{"header": "X-Sig", "algorithm": "sha1", "timestamp": "X-Time", "secret": "k"}, "hi", []string{"X-Sig", "8e6bec72ceb39566738080a690e9b2c1cc3ca644", "X-Time", "1492774577"}, time.Hour, false},
		{"own form, time missing", m{"header": "X-Sig", "algorithm": "sha1", "timestamp": "X-Time", "secret": "k"}, "hi", []string{"X-Sig", "8e6bec72ceb39566738080a690e9b2c1cc3ca644"}, 0, false},
		{"own form, twice", m{"header": "X-Sig", "algorithm": "sha1", "timestamp": "X-Time", "secret": "k"}, "hi", []string{"X-Sig", "8e6bec72ceb39566738080a690e9b2c1cc3ca644", "X-Sig", "8e6bec72ceb39566738080a690e9b2c1cc3ca644", "X-Time", "1492774577"}, 0, false},

		{"svix headers, second of two", m{"preset": "standard-webhooks", "secret": "whsec_a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="}, "hi", []string{"Svix-Id", "msg_1", "Svix-Timestamp", "1492774577", "Svix-Signature", "v1,AAAA v1,9K1b4weRUVP5FrxiXO7G/IBruEWWMnzQtZ/6HsqWTss="}, 0, true},
		{"svix headers, another body", m{"preset": "standard-webhooks", "secret": "whsec_a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="}, "ho", []string{"Svix-Id", "msg_1", "Svix-Timestamp", "1492774577", "Svix-Signature", "v1,9K1b4weRUVP5FrxiXO7G/IBruEWWMnzQtZ/6HsqWTss="}, 0, false},
		{"svix headers, too old", m{"preset": "standard-webhooks", "secret": "whsec_a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="}, "hi", []string{"Svix-Id", "msg_1", "Svix-Timestamp", "1492774577", "Svix-Signature", "v1,9K1b4weRUVP5FrxiXO7G/IBruEWWMnzQtZ/6HsqWTss="}, time.Hour, false},
		{"svix id, webhook signature", m{"preset": "standard-webhooks", "secret": "whsec_a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="}, "hi", []string{"Svix-Id", "msg_1", "Webhook-Timestamp", "1492774577", "Webhook-Signature", "v1,9K1b4weRUVP5FrxiXO7G/IBruEWWMnzQtZ/6HsqWTss="}, 0, false},
		{"own form, id and time", m{"header": "X-Sig", "secret": "k", "id": "X-Id", "timestamp": "X-Time"}, "hi", []string{"X-Sig", "843b0ec2e0dac1a86fb61e6b463fe18f45f238c4fd82fe372f28e27cbea49830", "X-Id", "m1", "X-Time", "1492774577"}, 0, true},
		{"own form, another id", m{"header": "X-Sig", "secret": "k", "id": "X-Id", "timestamp": "X-Time"}, "hi", []string{"X-Sig", "843b0ec2e0dac1a86fb61e6b463fe18f45f238c4fd82fe372f28e27cbea49830", "X-Id", "m2", "X-Time", "1492774577"}, 0, false},
		{"own form, no id", m{"header": "X-Sig", "secret": "k", "id": "X-Id", "timestamp": "X-Time"}, "hi", []string{"X-Sig", "843b0ec2e0dac1a86fb61e6b463fe18f45f238c4fd82fe372f28e27cbea49830", "X-Time", "1492774577"}, 0, false},
		{"own form, signed text", m{"header": "X-Sig", "secret": "k", "timestamp": "X-Time", "prefix": "v0=", "signed": "v0:{timestamp}:{body}"}, "hi", []string{"X-Sig", "v0=26c36490a0036ba4dec1b50e66d42e569ac815e19cd9643de367d0dfdbc699ba", "X-Time", "1492774577"}, 0, true},
		{"own form, several signatures", m{"header": "X-Sig", "secret": "k", "timestamp": "X-Time", "prefix": "v0=", "signed": "v0:{timestamp}:{body}"}, "hi", []string{"X-Sig", "v1=00, v0=00ff,v0=26c36490a0036ba4dec1b50e66d42e569ac815e19cd9643de367d0dfdbc699ba", "X-Time", "1492774577"}, 0, true},
		{"own form, prefix of another version", m{"header": "X-Sig", "secret": "k", "timestamp": "X-Time", "prefix": "v0=", "signed": "v0:{timestamp}:{body}"}, "hi", []string{"X-Sig", "v1=26c36490a0036ba4dec1b50e66d42e569ac815e19cd9643de367d0dfdbc699ba", "X-Time", "1492774577"}, 0, false},
		{"own form, id after the body", m{"header": "X-Sig", "secret": "k", "id": "X-Id", "signed": "{body}{id}"}, "hi", []string{"X-Sig", "cbdcaea96a27d350f7ab04bb2b781e0b5c4fa4596675292bf7f1fbd8f57bd5a6", "X-Id", "m1"}, 0, true},
		{"own form, placeholders in the id", m{"header": "X-Sig", "secret": "k", "id": "X-Id", "signed": "{body}{id}"}, "hi", []string{"X-Sig", "398d63d94d3de80c3c824e20e7f28449ffb1540840894c61e9fd624a28064f90", "X-Id", "{body}"}, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				<-time.After(time.Until(at.Add(c.late)))
				a := build(t, "hmac", c.settings)
				who, err := a.Authenticate(request("/", c.headers...), []byte(c.body))
				if c.accepted && (err != nil || who != "hmac") || !c.accepted && err != ErrDenied {
					t.Errorf("got %q, %v, want accepted = %v", who, err, c.accepted)
				}
			})
		})
	}
}

// The Standard Webhooks library creates the signature.
func TestStandardWebhooks(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	wh, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(`{"test": 2432232314}`)
	headers := func(id string, at time.Time) []string {
		mac, err := wh.Sign(id, at, body)
		if err != nil {
			t.Fatal(err)
		}
		return []string{"webhook-id", id, "webhook-timestamp", strconv.FormatInt(at.Unix(), 10), "webhook-signature", mac}
	}
	now := time.Now()
	with := func(h []string, name, value string) []string {
		out := append([]string(nil), h...)
		for i := 0; i < len(out); i += 2 {
			if out[i] == name {
				out[i+1] = value
			}
		}
		return out
	}
	good := headers("msg_p5jXN8AQM9LWM0D4loKWxJek", now)
	for _, c := range []struct {
		name     string
		secret   any
		headers  []string
		body     string
		accepted bool
	}{
		{"signed by the library", secret, good, string(body), true},
		{"secret without prefix", secret[len("whsec_"):], good, string(body), true},
		{"rotated", []any{"whsec_AAAA", secret}, good, string(body), true},
		{"several signatures", secret, with(good, "webhook-signature", "v1,AAAA v2,x "+good[5]), string(body), true},
		{"another secret", "whsec_AAAA", good, string(body), false},
		{"another body", secret, good, "{}", false},
		{"another id", secret, with(good, "webhook-id", "msg_2"), string(body), false},
		{"another version", secret, with(good, "webhook-signature", "v2"+good[5][2:]), string(body), false},
		{"no version", secret, with(good, "webhook-signature", good[5][3:]), string(body), false},
		{"too old", secret, headers("m", now.Add(-6*time.Minute)), string(body), false},
		{"too new", secret, headers("m", now.Add(6*time.Minute)), string(body), false},
		{"no id", secret, good[2:], string(body), false},
		{"no time", secret, append(append([]string(nil), good[:2]...), good[4:]...), string(body), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := build(t, "hmac", map[string]any{"preset": "standard-webhooks", "secret": c.secret})
			if _, err := a.Authenticate(request("/", c.headers...), []byte(c.body)); (err == nil) != c.accepted {
				t.Errorf("got %v, want accepted = %v", err, c.accepted)
			}
		})
	}
}

// The number of signatures that are compared is limited.
func TestSignaturesAreBounded(t *testing.T) {
	mac := hmac.New(sha256.New, []byte("s"))
	now := strconv.FormatInt(time.Now().Unix(), 10)
	mac.Write([]byte(now + ".x"))
	header := "t=" + now
	for range maxSignatures {
		header += ",v1=00"
	}
	header += ",v1=" + hex.EncodeToString(mac.Sum(nil))
	a := build(t, "hmac", map[string]any{"preset": "stripe", "secret": "s"})
	if _, err := a.Authenticate(request("/", "Stripe-Signature", header), []byte("x")); err != ErrDenied {
		t.Errorf("got %v, want %v", err, ErrDenied)
	}
}

func FuzzSignatureHeaders(f *testing.F) {
	f.Add("t=1,v1=00", "1")
	f.Add("v1,AAAA", "1492774577")
	f.Add("sha256=", "x")
	f.Fuzz(func(t *testing.T, header, stamp string) {
		for _, p := range presetNames() {
			a := build(t, "hmac", map[string]any{"preset": p, "secret": "c2VjcmV0c2VjcmV0"})
			form := a.(*signed).form
			r := request("/")
			r.Header[form.headers[0]] = []string{header}
			r.Header["Webhook-Timestamp"] = []string{stamp}
			r.Header["Webhook-Id"] = []string{"m"}
			if _, err := a.Authenticate(r, []byte("body")); err != ErrDenied {
				t.Fatalf("%s with %q: got %v, want %v", p, header, err, ErrDenied)
			}
		}
	})
}

func TestSignedText(t *testing.T) {
	for _, c := range []struct {
		settings map[string]any
		want     string
	}{
		{map[string]any{"signed": "{timestamp}.{body}"}, "auth scheme hmac: signed: contains {timestamp}, but timestamp is not set: name the header that carries it"},
		{map[string]any{"signed": "{id}{body}"}, "auth scheme hmac: signed: contains {id}, but id is not set: name the header that carries it"},
		{map[string]any{"timestamp": "X-Time", "signed": "{body}"}, "auth scheme hmac: signed: does not contain {timestamp}, so that timestamp would not be protected"},
		{map[string]any{"signed": "{body}{body}"}, "auth scheme hmac: signed: must contain {body} once and no other placeholders than {id} and {timestamp}, such as `v0:{timestamp}:{body}`"},
		{map[string]any{"signed": "{url}{body}"}, "auth scheme hmac: signed: must contain {body} once and no other placeholders than {id} and {timestamp}, such as `v0:{timestamp}:{body}`"},
		{map[string]any{"signed": "x"}, "auth scheme hmac: signed: must contain {body} once and no other placeholders than {id} and {timestamp}, such as `v0:{timestamp}:{body}`"},
	} {
		c.settings["header"], c.settings["secret"] = "X-Sig", "k"
		if _, err := New("hmac", c.settings, nil); err == nil || err.Error() != c.want {
			t.Errorf("%v: got %v, want %s", c.settings, err, c.want)
		}
	}
}
