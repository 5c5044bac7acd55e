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

// Tokens expire on time by the control plane's clock, and the use of an expired
// install token is in the audit log.
func TestTokensExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, stop := open(t, t.TempDir())
		defer stop()
		if _, err := d.Environments.Create(d.ctx, d.admin, cloud.Environment{Name: "prod"}); err != nil {
			t.Fatal(err)
		}
		install, err := d.Fleet.CreateInstallToken(d.ctx, d.admin, "prod", 10*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		token, err := d.Accounts.CreateToken(d.ctx, d.admin, cloud.Token{Name: "ci", Role: cloud.Viewer, Expires: time.Now().Add(10 * time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Minute)
		if _, err := d.Accounts.Authenticate(d.ctx, cloud.DefaultAccount, "ci", token.Secret); err != nil {
			t.Errorf("a minute before: %v", err)
		}
		time.Sleep(time.Minute)
		if _, err := d.Accounts.Authenticate(d.ctx, cloud.DefaultAccount, "ci", token.Secret); !errors.Is(err, cloud.ErrUnauthenticated) {
			t.Errorf("an expired API token: %v", err)
		}
		_, err = d.AtomAPI.Enroll(d.ctx, enrolment(t, install.Token), "10.0.0.1")
		if refused := (*cloud.RefusedError)(nil); !errors.As(err, &refused) || refused.Code != wire.CodeExpiredToken {
			t.Errorf("an expired install token: %v", err)
		}
		log, _, err := d.Audit.List(d.ctx, d.admin, 0, 10)
		if err != nil || len(log) == 0 || log[0].Action != "refused" || log[0].Detail != wire.CodeExpiredToken {
			t.Errorf("the newest audit entry is not the refusal: got %+v, %v", log, err)
		}
	})
}

func enrolment(t *testing.T, token string) wire.EnrollRequest {
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
	return wire.EnrollRequest{Token: token, Name: "edge-09", Key: pub, SealKey: seal, SealSignature: ed25519.Sign(key, seal)}
}
