#!/bin/sh
# Finish an unpacked Debian root: run the maintainer scripts, then remove what is not a function of
# the packages (logs, caches of caches, backups, identities of a machine).
set -eu
export PATH DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true DPKG_MAINTSCRIPT_DEBUG=0
umask 022

# Nothing may start a service while packages are configured.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d

# base-passwd makes the users that the other packages' scripts name.
dpkg --force-depends --configure base-passwd
# pwconv gives files it makes to the group shadow by a system call, which one user id cannot; files
# that exist keep their group, and the scripts' own chown is recorded.
for file in /etc/shadow /etc/gshadow; do
  [ -e "$file" ] || (umask 077 && : >"$file")
done
dpkg --force-confold --force-depends --configure --pending
ldconfig

rm -f /usr/sbin/policy-rc.d /etc/machine-id /var/lib/dbus/machine-id
rm -f /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old /var/lib/dpkg/*-old
rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid- /etc/.pwd.lock
rm -f /var/lib/dpkg/lock /var/lib/dpkg/lock-frontend /var/lib/dpkg/triggers/Lock /var/lib/systemd/random-seed
find /var/log /run /var/tmp -mindepth 1 -delete 2>/dev/null || true
find / -xdev -name '__pycache__' -type d -prune -exec rm -rf {} + 2>/dev/null || true
