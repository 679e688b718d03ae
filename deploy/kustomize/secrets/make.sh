#!/usr/bin/env bash
# Makes the secrets of the production overlays, in files/ beside this: the user file of Redis with the
# passwords of the services and of the operator (who may do everything), an authority with certificates
# for Redis and both services, and tokens for operator, order-shop and each other caller named. Clients
# need files/ca.crt and, of files/tokens/, their own token. What is there already stays: remove a file to
# have it made anew. Tokens in files/tokens-also/ are good as well, for changing one: docs/operate.md.
#   deploy/kustomize/secrets/make.sh billing
#   kubectl apply -k deploy/kustomize/secrets
# NAMESPACE (messaging) is where the services will run, DAYS (365) how long certificates are good for.
set -euo pipefail
cd "$(dirname "$0")"
umask 077
namespace=${NAMESPACE:-messaging} days=${DAYS:-365}
command -v openssl >/dev/null || { echo "error: openssl is not here: install it, then try again" >&2; exit 1; }
mkdir -p files/tokens
cd files

random() { openssl rand -hex 32; }
sha256() { openssl dgst -sha256 -r "$1" | cut -d' ' -f1; }

# No newline at the end: the hash is of these bytes.
for user in password operator-password; do
  [ -e "$user" ] || { printf %s "$(random)" >"$user"; rm -f users.acl; }
done
[ -e users.acl ] || sed "s/PASSWORD_SHA256/$(sha256 password)/; s/OPERATOR_SHA256/$(sha256 operator-password)/" \
  ../users.acl.template >users.acl

if [ ! -e ca.crt ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=messaging authority" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout ca.key -out ca.crt 2>/dev/null
fi
for name in redis event-store-svc message-queue-svc; do
  [ -e "$name.crt" ] && continue
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" -keyout "$name.key" -out "$name.csr" 2>/dev/null
  names="DNS:$name,DNS:$name.$namespace,DNS:$name.$namespace.svc,DNS:$name.$namespace.svc.cluster.local"
  printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n' "$names" >"$name.ext"
  openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days "$days" -extfile "$name.ext" -out "$name.crt" 2>/dev/null
  rm -f "$name.csr" "$name.ext"
done

for caller in operator order-shop "$@"; do
  [ -e "tokens/$caller" ] || printf %s "$(random)" >"tokens/$caller"
done
# The services need not know the tokens themselves.
for token in tokens/* tokens-also/*; do
  [ -e "$token" ] || continue
  printf '[[token]]\ncaller = "%s"\nsha256 = "%s"\n\n' "$(basename "$token")" "$(sha256 "$token")"
done >tokens.toml
