package cloud_test

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"valence/cloud"
	"valence/internal/wire"
)

// Tokens of both kinds end when they said they would, by the control plane's
// clock, and an expired install token is told to the account.
func TestTokensExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, stop := open(t, t.TempDir())
		defer stop()
		if _, err := d.CreateEnvironment(d.ctx, d.admin, cloud.Environment{Name: "prod"}); err != nil {
			t.Fatal(err)
		}
		install, err := d.CreateInstallToken(d.ctx, d.admin, "prod", 10*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		token, err := d.CreateToken(d.ctx, d.admin, cloud.Token{Name: "ci", Role: cloud.Viewer, Expires: time.Now().Add(10 * time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Minute)
		if _, err := d.Authenticate(d.ctx, cloud.DefaultAccount, "ci", token.Secret); err != nil {
			t.Errorf("a minute before: %v", err)
		}
		time.Sleep(time.Minute)
		if _, err := d.Authenticate(d.ctx, cloud.DefaultAccount, "ci", token.Secret); !errors.Is(err, cloud.ErrUnauthenticated) {
			t.Errorf("an expired API token: %v", err)
		}
		_, err = d.Enrol(d.ctx, enrolment(t, install.Token), "10.0.0.1")
		if refused := (*cloud.RefusedError)(nil); !errors.As(err, &refused) || refused.Code != cloud.CodeExpiredToken {
			t.Errorf("an expired install token: %v", err)
		}
		log, _, err := d.AuditLog(d.ctx, d.admin, 0, 10)
		if err != nil || len(log) == 0 || log[0].Action != "refused" || log[0].Detail != cloud.CodeExpiredToken {
			t.Errorf("the audit log does not begin with it: %+v, %v", log, err)
		}
	})
}

func enrolment(t *testing.T, token string) wire.Enrol {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	open, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	seal := open.PublicKey().Bytes()
	return wire.Enrol{Token: token, Name: "edge-09", Key: pub, SealKey: seal, SealSignature: ed25519.Sign(key, seal)}
}
