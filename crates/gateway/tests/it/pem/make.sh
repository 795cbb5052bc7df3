#!/bin/sh
# Makes the certificates of the tests anew. They are no secret: nobody trusts the one who signs them.
set -eu
cd "$(dirname "$0")"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj "/CN=Cresset tests" \
  -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign" -keyout ca.key.pem -out ca.pem
for name in one two; do
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" -keyout "$name.key.pem" -out "$name.csr"
  printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:FALSE\n' > ext
  openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key.pem -days 36500 -extfile ext -out "$name.pem"
  rm "$name.csr" ext
done
rm -f ca.key.pem ca.srl
