package cloud_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"valence/cloud"
)

// A session has its token's current permissions, expires, and survives a
// restart of the control plane.
func TestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		d, stop := open(t, dir)
		token, err := d.Accounts.CreateToken(d.ctx, d.admin, cloud.Token{Name: "somebody", Role: cloud.Operator, Expires: time.Now().Add(24 * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		p, err := d.Accounts.Authenticate(d.ctx, "", "", token.Secret)
		if err != nil {
			t.Fatal(err)
		}
		begin := func() string {
			secret, err := d.Accounts.SignIn(d.ctx, p)
			if err != nil {
				t.Fatal(err)
			}
			return secret
		}
		first := begin()
		got, err := d.Accounts.Session(d.ctx, first)
		if err != nil || got.User != "somebody" || got.Role != cloud.Operator || got.TokenID != token.ID {
			t.Errorf("got %+v, %v, want User somebody, Role operator, TokenID %q and no error", got, err, token.ID)
		}
		stop()
		d, stop = open(t, dir)
		defer func() { stop() }()
		if _, err := d.Accounts.Session(d.ctx, first); err != nil {
			t.Errorf("after a restart: %v", err)
		}
		for _, other := range []string{"", token.Secret, first + "x"} {
			if _, err := d.Accounts.Session(d.ctx, other); !errors.Is(err, cloud.ErrUnauthenticated) {
				t.Errorf("%q: got %v, want cloud.ErrUnauthenticated", other, err)
			}
		}

		time.Sleep(time.Minute)
		var last string
		for range 20 { // a token has at most 20 sessions: the oldest ends
			last = begin()
		}
		if _, err := d.Accounts.Session(d.ctx, first); !errors.Is(err, cloud.ErrUnauthenticated) {
			t.Errorf("the oldest of 21: %v", err)
		}
		time.Sleep(cloud.SessionLifetime - time.Second)
		if _, err := d.Accounts.Session(d.ctx, last); err != nil {
			t.Errorf("before its end: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := d.Accounts.Session(d.ctx, last); !errors.Is(err, cloud.ErrUnauthenticated) {
			t.Errorf("after %s: got %v, want cloud.ErrUnauthenticated", cloud.SessionLifetime, err)
		}

		last = begin()
		time.Sleep(11*time.Hour + 59*time.Minute) // the token expires
		if _, err := d.Accounts.Session(d.ctx, last); !errors.Is(err, cloud.ErrUnauthenticated) {
			t.Errorf("the session outlives its token: %v", err)
		}
		if _, err := d.Accounts.SignIn(context.Background(), cloud.Principal{Account: "another", TokenID: token.ID}); !errors.Is(err, cloud.ErrUnauthenticated) {
			t.Errorf("a session of another account's token: %v", err)
		}
	})
}
