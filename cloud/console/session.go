package console

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"strings"

	"valence/cloud"
)

// Session cookies. Over TLS the name starts with __Host-, which browsers accept
// only over TLS and for this host alone.
const (
	cookieName   = "valence-session"
	cookieSecure = "__Host-valence-session"
)

// liveHeader marks requests of the script that refreshes pages.
const liveHeader = "Valence-Live"

// sessionSecret returns the session secret of a request, or "".
func sessionSecret(r *http.Request) string {
	if cookie, err := r.Cookie(cookieSecure); err == nil {
		return cookie.Value
	}
	// Browsers send Sec-Fetch-Site over TLS and to loopback. There, a cookie
	// that a neighboring host could have set is rejected.
	if r.TLS != nil || r.Header.Get("Sec-Fetch-Site") != "" && !loopback(r.Host) {
		return ""
	}
	if cookie, err := r.Cookie(cookieName); err == nil {
		return cookie.Value
	}
	return ""
}

// secure reports whether the browser uses TLS, here or at a proxy that
// terminates it. Forms report it themselves.
func secure(r *http.Request) bool {
	return r.TLS != nil || strings.HasPrefix(r.Header.Get("Origin"), "https://")
}

func setCookie(w http.ResponseWriter, r *http.Request, secret string) {
	cookie := &http.Cookie{Name: cookieName, Value: secret, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if secure(r) {
		cookie.Name, cookie.Secure = cookieSecure, true
	}
	if secret == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}

// csrfOf returns the token of a session's forms. It is derived from the secret
// and does not reveal it.
func csrfOf(secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("valence console form"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// stranger responds to requests without a session.
func (c *console) stranger(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPost || r.Header.Get(liveHeader) != "":
		http.Error(w, "Sign in first: there is no session, or it has expired.", http.StatusUnauthorized)
	case r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.URL.Path != "/signin":
		// A link on another site, such as a chat, comes without the cookie. A
		// page of our own in between makes the browser send it.
		c.render(w, http.StatusOK, "through", &shell{Path: r.URL.RequestURI(), assets: c.assets})
	default:
		c.render(w, http.StatusUnauthorized, "signin", &shell{Title: "Sign in", Path: localPath(r.URL.RequestURI()), Version: c.Version, assets: c.assets})
	}
}

// localPath returns path if it is a path of this site, otherwise "/".
func localPath(path string) string {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") || strings.HasPrefix(path, "/sign") {
		return "/"
	}
	return path
}

func (c *console) signInPage(w http.ResponseWriter, r *http.Request) {
	if _, err := c.Service.Accounts.Session(r.Context(), sessionSecret(r)); err == nil {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	s := &shell{Title: "Sign in", Path: "/", Version: c.Version, assets: c.assets}
	if r.URL.Query().Has("out") {
		s.Done = "You have signed out."
	}
	c.render(w, http.StatusOK, "signin", s)
}

// signIn creates a session for an API token. URLs, logs and cookies never
// contain the token, and nothing new about it is stored.
func (c *console) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	again := func(status int, text string) {
		c.render(w, status, "signin", &shell{Title: "Sign in", Path: localPath(r.PostFormValue("to")), Problem: text, Version: c.Version, assets: c.assets})
	}
	if err := c.origin.Check(r); err != nil {
		again(http.StatusForbidden, "The form was sent from another site. Sign in here.")
		return
	}
	p, err := c.Service.Accounts.Authenticate(r.Context(), "", "", strings.TrimSpace(r.PostFormValue("token")))
	if errors.Is(err, cloud.ErrUnavailable) {
		unavailable(w)
		return
	}
	if err != nil {
		again(http.StatusUnauthorized, "This token is unknown, revoked or expired.")
		return
	}
	p.From, _, _ = net.SplitHostPort(r.RemoteAddr)
	secret, err := c.Service.Accounts.SignIn(r.Context(), p)
	if err != nil {
		c.Log.Error("cannot create session", "error", err)
		again(http.StatusServiceUnavailable, "The control plane cannot write to its store. Check its log.")
		return
	}
	setCookie(w, r, secret)
	http.Redirect(w, r, localPath(r.PostFormValue("to")), http.StatusSeeOther)
}

// signOut ends the session itself, not only the cookie.
func (c *console) signOut(w http.ResponseWriter, r *http.Request) {
	secret := sessionSecret(r)
	if p, err := c.Service.Accounts.Session(r.Context(), secret); err == nil {
		p.From, _, _ = net.SplitHostPort(r.RemoteAddr)
		v := &visit{r, p, csrfOf(secret)}
		if err := c.genuine(w, v, route{}); err != nil {
			c.fail(w, v, err)
			return
		}
		if err := c.Service.Accounts.SignOut(r.Context(), p, secret); err != nil {
			c.fail(w, v, err)
			return
		}
	}
	setCookie(w, r, "")
	http.Redirect(w, r, "/signin?out", http.StatusSeeOther)
}
